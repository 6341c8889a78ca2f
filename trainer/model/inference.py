"""A model with the tokens that it reads and writes: input ids -> answer ids."""

from dataclasses import dataclass

import torch
from torch import Tensor

from matstream.trainer.model.transformer import Transformer
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.tokens.grammar import grammar
from matstream.trainer.tokens.tokens import Ids, Tokens


@dataclass(frozen=True)
class Solver:
    """A model, and how it reads and writes."""

    model: Transformer
    read: Tokens
    write: Tokens
    constrained: bool = False  # whether it writes only what its grammar allows

    def solve(self, input_ids: Ids, task: int) -> Ids:
        """The greedy answers (B, length, slots) to inputs (B, L, slots) of one task."""
        inputs, tasks = self._on_device(input_ids, task)
        rules = grammar(self.write, task, len(inputs), inputs.device) if self.constrained else None
        answers = self.model.eval().generate(inputs, tasks, self.write.lengths[task], rules)
        ids: Ids = answers.cpu().numpy()
        return ids

    @torch.no_grad()
    def loss(self, input_ids: Ids, target_ids: Ids, task: int) -> float:
        """The model's loss on targets of one task, summed over all words, in nats."""
        inputs, tasks = self._on_device(input_ids, task)
        return float(self.model.eval()(inputs, torch.from_numpy(target_ids).to(inputs.device), tasks))

    def _on_device(self, ids: Ids, task: int) -> tuple[Tensor, Tensor]:
        device = self.model.opening.device
        ids = ids[:, : self.read.lengths[task]]  # the rest is for larger tasks
        return torch.from_numpy(ids).to(device), torch.full((len(ids),), task, device=device)


def solver_of(recipe: Recipe, model: Transformer) -> Solver:
    """A recipe's model, which reads and writes as the recipe says."""
    constrained = recipe.evaluation.constrained
    return Solver(model, recipe.input_tokens(), recipe.target_tokens(), constrained)
