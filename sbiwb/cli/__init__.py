"""The command line: parses the shell, calls one workflow function, prints. Importing it loads no
torch.
"""
