"""A regression by transformers.Trainer with the options of TrainingArguments, as most scripts of its users begin."""

import torch
from transformers import HfArgumentParser, Trainer, TrainingArguments, set_seed

(args,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
set_seed(args.seed)
torch.set_num_threads(1)
data = torch.Generator().manual_seed(0)
x = torch.randn(640, 8, generator=data)
y = torch.tanh(x @ torch.randn(8, 1, generator=data)) + 0.1 * torch.randn(640, 1, generator=data)


class Regression(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))

    def forward(self, inputs, labels):
        prediction = self.layers(inputs)
        return {"loss": torch.nn.functional.mse_loss(prediction, labels), "logits": prediction}


rows = [{"inputs": x[i], "labels": y[i]} for i in range(len(x))]
trainer = Trainer(Regression(), args, train_dataset=rows[:512], eval_dataset=rows[512:])
trainer.train()
trainer.save_state()
