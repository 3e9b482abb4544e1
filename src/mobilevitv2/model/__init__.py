"""The networks: the paper, from layers to heads."""
