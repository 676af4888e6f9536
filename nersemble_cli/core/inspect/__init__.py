"""What is in a file, in a folder, on this machine."""
