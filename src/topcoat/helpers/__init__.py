"""Read and make thousands of plain files with several processors."""
