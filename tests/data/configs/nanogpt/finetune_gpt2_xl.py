import time

out_dir = 'out-finetune'
eval_interval = 5
eval_iters = 40
wandb_log = False
wandb_project = 'finetune'
wandb_run_name = 'ft-' + str(time.time())

dataset = 'books'
init_from = 'gpt2-xl'
always_save_checkpoint = False

# 1 sample x 32 steps x 1024 tokens = 32,768 tokens an iteration
batch_size = 1
gradient_accumulation_steps = 32
max_iters = 200

learning_rate = 3e-5
decay_lr = False
weight_decay = 1e-1
grad_clip = 1.0
dtype = 'bfloat16'
