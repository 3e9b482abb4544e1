"""From a trained model to one file for a phone, a browser or a server, with the same answers.

A task's own module here has

- `stage(model, request)`: a function from pixels to what the file gives, and its `OUTPUT_NAMES`;
- `agreement(expected, found, close, facts)` of a model's and a file's answers;
- `MAY_DIFFER`, of what that counts (`COUNTED`): a number and a share, the larger of which is
  allowed, in fp32 and in half precision; `SAME`: what a report calls the rest;
- `same(first, second, facts)`: which of that is the same in the answers of two files;
- `CLASSIFIES`: whether an image has one class, which its folder may name.
"""

from mobilevitv2.deploy.export import Export, export
from mobilevitv2.deploy.fuse import fuse

__all__ = ["Export", "export", "fuse"]
