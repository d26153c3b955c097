"""Training stages: `contrast` (1: each modality alone, 2: with exchange), `distill` (3), and the `loop` that runs them."""
