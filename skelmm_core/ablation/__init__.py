"""The grid of recipes that answers what each part of the method is worth: what is in it, one cell of it, and all cells on many machines."""
