"""The live viewer: a page that a browser opens, served from the machine that has the data."""
