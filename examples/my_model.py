"""A model of one's own, trained on a stream and scored as a run is: python examples/my_model.py"""

import torch
from torch import nn
from torch.utils.data import DataLoader

import matstream

SAMPLES = 200_000

data = matstream.Dataset("eigenvalues", dim=3, count=SAMPLES, batch_size=100)
model = nn.Sequential(nn.Flatten(), nn.Linear(9, 256), nn.GELU(), nn.Linear(256, 3), nn.Unflatten(1, (3, 1)))
optimiser = torch.optim.Adam(model.parameters(), 1e-3)
for inputs, targets in DataLoader(data, batch_size=None):  # (100, 3, 3), (100, 3, 1)
    loss = nn.functional.l1_loss(model(inputs.float()), targets.float())
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

test = matstream.sample("eigenvalues", dim=3, count=1000, split="test")
with torch.no_grad():
    predictions = model(torch.from_numpy(test.inputs).float())
scores = matstream.score("eigenvalues", test.inputs, test.targets, predictions)
print(f"{scores.accuracy['0.05']:.1%} right within 5%")
