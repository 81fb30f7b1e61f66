"""The claims of the three papers, the evidence for each, and the table over all of them."""
