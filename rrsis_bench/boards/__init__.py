"""What people read: rows, boards, and the files they are written to."""
