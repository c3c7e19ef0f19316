"""One run as a value: what is asked for, what that means, and the folder it is kept in."""
