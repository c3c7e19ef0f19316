"""Many runs: which cells a sweep has, what has become of them, and how they are started."""
