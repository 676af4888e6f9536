"""The command line: parse, call one function of the core, show the result."""
