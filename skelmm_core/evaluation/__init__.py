"""What a frozen encoder knows: features, linear probe, nearest neighbours, maps, figures of cost, and signs of failure.

features -> linear | knn | tsne, scored by metrics; complexity counts what it costs; diagnosis says what went wrong.
"""
