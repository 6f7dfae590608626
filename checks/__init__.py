"""The battery: one package a symptom family, one module a check."""
