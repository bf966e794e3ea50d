"""MLflow as a view of the study: runs, the model registry, serving. The only importer of mlflow."""
