"""What a frozen encoder knows: features, linear probe, nearest neighbours, maps, figures of cost, and signs of failure.

features -> linear | knn | retrieval | semi | fewshot | tsne, scored by metrics; fusion adds streams up; finetuning trains all weights, by
recipes named after their sources; transfer says what a map of joints loses; complexity counts the cost; diagnosis says what went wrong.
"""
