"""One run as a value: the request, the configuration it resolves to, and the run folder."""
