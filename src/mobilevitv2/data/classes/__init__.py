"""Images in class folders."""
