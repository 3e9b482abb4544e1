"""Checkpoints: the published key layouts, and safe reading and writing of weights."""
