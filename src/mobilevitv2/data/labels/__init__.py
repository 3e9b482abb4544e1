"""Images with any number of labels each, listed in a table."""
