"""Parts of the recipe left out or set otherwise, one at a time: ablations, products in 8-bit floats, sparser experts."""
