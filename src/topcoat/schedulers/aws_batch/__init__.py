"""Jobs on AWS Batch: ``aws_batch``."""
