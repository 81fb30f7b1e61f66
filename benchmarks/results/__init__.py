"""Results on real data: a model per recipe, trained as `ernest train` does, judged by networks that saw real training sets."""
