"""Runs side by side: finished stages loaded by their manifests, scored as `Experiment.score` does, and a page that says where they differ.

`load` finds and scores, `compare` computes, `charts` draws, `page` writes, `command` is `skelmm report`. Nothing is trained.
"""
