"""The trainer: HTTP -> arrays -> token tensors -> model -> scores -> checkpoint, report."""
