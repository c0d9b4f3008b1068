"""Train a small network on digits by KFC-pre. Beside a loop with SGD three lines change; they are marked.

Run it as ``python examples/train_digits.py [--sgd]``.
"""

import argparse

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from kfc_bench.optim import KFCPre
from kfc_bench.problems.digits import digits

parser = argparse.ArgumentParser(description="Train a small network on digits.")
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--sgd", action="store_true", help="the same loop with torch.optim.SGD")
options = parser.parse_args()

torch.manual_seed(0)
data = digits()
loader = DataLoader(TensorDataset(data.train.images, data.train.labels), batch_size=64, shuffle=True)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(64, 10),
)

if options.sgd:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
else:
    optimizer = KFCPre(model, lr=0.03, damping=0.1, averaging=len(loader))  # 1: was torch.optim.SGD
    optimizer.initialize(loader)  # 2: the factors on the whole data set, before the first step

for epoch in range(1, options.epochs + 1):
    for images, labels in loader:
        optimizer.zero_grad()
        logits = model(images)
        loss = functional.cross_entropy(logits, labels)
        if options.sgd:
            loss.backward()
        else:
            optimizer.backward(loss, logits)  # 3: was loss.backward()
        optimizer.step()
    trained = model if options.sgd else optimizer.averaged
    trained.eval()
    with torch.no_grad():
        error = (trained(data.test.images).argmax(1) != data.test.labels).double().mean()
    model.train()
    print(f"epoch {epoch}: training loss {loss:.3f}, test error {100 * error:.1f} %")
