"""What a model file computes: tensors, operations, sizes and the work of one photo."""
