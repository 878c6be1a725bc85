"""Network blocks, stacked: every parameter has a first axis of M members that train side by side.

Members share data and architecture; they differ in weights, penalty, step size, seed and number of factors.
A single trained model is a stack of one. Only this folder, `training` and modules of network families import
torch.

Shapes: M members, B months of a batch, L months of look-back, Q managed portfolios, P characteristics, H
hidden units, K factors, N stocks of a month, n stock-months of a batch.
"""
