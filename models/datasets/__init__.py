"""Real data sets: found where a package ships them or downloaded, checked, and given as arrays. Knows no model.

Each set says which rows are held out; that split is fixed here, so that training, evaluation and load tests cannot differ about it.
"""
