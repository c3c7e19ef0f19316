"""How the cells of a sweep are started: here (`local`), as printed commands (`printed`), by SLURM (`slurm`)."""
