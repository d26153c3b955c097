"""skelmm: a workbench for self-supervised, multi-modality, skeleton-based action recognition (arXiv 2309.12009)."""

__version__ = "0.1.0"
