"""Objects on S3 and files on web servers: addresses, transfers, a bounded cache, linked folders."""
