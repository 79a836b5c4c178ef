"""The dataset on disk: Parquet tables, manifest, publication and checks."""
