"""From a trained model to one file for a phone, a browser or a server, with the same answers."""

from mobilevitv2.deploy.export import Export, export
from mobilevitv2.deploy.fuse import fuse

__all__ = ["Export", "export", "fuse"]
