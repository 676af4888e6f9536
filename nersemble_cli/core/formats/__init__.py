"""Reading untrusted files, one format per module."""
