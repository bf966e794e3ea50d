"""Architecture search for damage classification in micro-CT images of bone, under nested cross-validation."""
