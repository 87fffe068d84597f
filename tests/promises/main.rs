//! What hookweir promises, a module each, tested from outside. One binary, so that it is linked once.
