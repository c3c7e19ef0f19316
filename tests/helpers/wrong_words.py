"""Command lines with a wrong word, one a line: what a user may mistype, for every verb."""

from __future__ import annotations

SCORE = "results score dir --method m --dataset tiny"
PREDICT = "predict --run dir --image file.txt --text ship"
WITHOUT_TORCH = f"""
data audit
data audit tiny
data audit moon --run dir
data audit tiny --run
data audit tiny --run no --out page.png
data audit tiny --run no --split dev
nothing
fitt --method lavt
--method lavt
fit
fit --dataset tiny
fit --method
fit --method lavtt
fit --method ''
fit --method lavt --seed -1
fit --method lavt --seed x
fit --method lavt --seed 1.5
fit --method lavt --seed 4294967296
fit --method lavt --seed
fit --method lavt --seed 1 --seed_everything=2
fit --method lavt --variant huge
fit --method lavt --variant ''
fit --method lavt --dataset moon
fit --method lavt --dataset ''
fit --method lavt --dataset rrsisd
fit --method lavt --dataset own
fit --method lavt --dataset own --data.manifest=no.csv
fit --method lavt --dataset own --data.manifest=dir
fit --method lavt --data.source=moon
fit --method lavt --data.source_options='{{nothing: 1}}'
fit --method lavt --recipe sweet
fit --method s4eca --model.schedule.gamma=0.5 --model.schedule.name=poly
fit --method s4eca --recipe paper
fit --method lavt --protocol native
fit --method lavt --protocol ''
fit --method lavt --trainer gpus
fit --method lavt --trainer ''
fit --method lavt --logger tensorboard
fit --method lavt --config no.yaml
fit --method lavt --config dir
fit --method lavt --config file.txt
fit --method lavt --config list.yaml
fit --method lavt --config scalar.yaml
fit --method lavt --config unknown.yaml
fit --method lavt --out ''
fit --method lavt --out file.txt
fit --method lavt --out file.txt/run
fit --method lavt --out dir
fit --method lavt --resume no.ckpt
fit --method lavt --resume auto --overwrite
fit --method lavt --accept-changes
fit --method lavt tiny
fit --method lavt --ovrwrite
fit --method lavt --ovrwrite=1
fit --method lavt --epochs 3
fit --method lavt -e 3
fit --method lavt --trainer.max_epochs
fit --method lavt --trainer.max_epochs --model.pretrained=false
fit --method lavt --=1
validate
validate --run no
validate --run file.txt
validate --run dir
validate --run nomodel
validate --run nodata
validate --run unfinished
validate --run ''
validate --ckpt no.ckpt
validate --ckpt no.ckpt --run unfinished
validate --overwrite
test
test --run no
test --run file.txt
test --run dir
test --run nomodel
test --run nodata
test --run unfinished
test --run unfinished --method lgce
test --run unfinished --variant base
test --run unfinished --dataset rrsisd
test --run unfinished --trainer.max_epochs=-5
test --ckpt no.ckpt
test --weights file.txt --run unfinished
test --weights file.txt --method lavt
test --method lavt --seed -1
leaderboard --board moon
leaderboard --format docx
leaderboard --format
leaderboard --results no
leaderboard --results no --check
leaderboard --results file.txt
leaderboard --results ''
leaderboard
leaderboard --check
leaderboard --results dir --out file.txt
data
data draw tiny
data list tiny
data prepare
data fetch
data fetch moon
data fetch own
data fetch own --yes
data fetch refsegrs
data fetch refsegrs --repo
data fetch refsegrs --manifest file.txt
data prepare moon
data prepare rrsisd
data prepare rrsisd --root file.txt
data prepare rrsisd --root ''
data prepare own
data prepare own --manifest no.csv
data prepare own --manifest file.txt
data prepare own --manifest dir
RRSIS_CACHE=file.txt data prepare tiny
RRSIS_CACHE=file.txt/deep data prepare tiny
data verify moon
data verify
data stats rrsisd
data stats own --root file.txt
data show rrsisd
data show tiny --index -1
data show tiny --index x
data show tiny --split all
data show
results
results grade
results check no
results check
results rescore
results rescore no
results rescore dir
results compare dir
results compare no no
results compare dir dir
results compare file.txt file.txt
results compare dir dir --protocol native
results explain
results explain no
results explain dir
results explain file.txt
results explain dir --out ''
results table
results table no
results table no.yaml
results table sweep.yaml
results table dir
results table tiny --format tex
results table tiny --runs file.txt
results table tiny --runs ''
results export
results export no
results export dir
results export file.txt
results score
results score dir
results score no --method m --dataset tiny
results score dir --method m --dataset moon
results score dir --method m --dataset rrsisd
results score dir --method 'm/n' --dataset tiny
results score dir --method '' --dataset tiny
{SCORE} --variant ''
{SCORE} --seed -1
{SCORE} --seed x
{SCORE} --split dev
{SCORE} --selected-on dev
{SCORE} --year x
{SCORE} --year 20
{SCORE} --parameters -3
{SCORE} --trainable-parameters few
{SCORE} --out file.txt
{SCORE} --out dir
{SCORE} --root file.txt --dataset rrsisd
methods
methods find lavt
methods list lavt
methods list --al
methods show s2rm
methods show
methods show lavtt
methods check
methods check lavtt
profile
profile --method lavtt
profile --method lavt --variant huge
profile --method lavt --run dir
forecast
forecast --method lavt
forecast --method lavtt --dataset rrsisd
forecast --method lavt --dataset moon
forecast --method lavt --dataset own
forecast --method lavt --dataset rrsisd --variant huge
forecast --method lavt --dataset rrsisd --gpu h10
forecast --method lavt --dataset rrsisd --gpus 0
forecast --method lavt --dataset rrsisd --batch-size -1
forecast --method lavt --dataset rrsisd --samples x
forecast --method lavt --dataset rrsisd --trainer huge
profile --method lavt --batch-size 0
profile --method lavt --batch-size x
profile --method lavt --warmup -1
profile --method lavt --repeats 0
profile --method lavt --precision 8
profile --run
profile --run dir --meta
profile --run dir --variant tiny
sweep
sweep no
sweep no.yaml
sweep dir
sweep file.txt
sweep list.yaml
sweep scalar.yaml
sweep sweep.yaml
sweep unknown-sweep.yaml
sweep tiny --launcher cloud
sweep tiny --workers 0
sweep tiny --workers -1
sweep tiny --workers x
sweep tiny --runs file.txt
sweep tiny --runs ''
sweep tiny --only nothing
sweep tiny --dryrun
status
status no
status no.yaml
status file.txt
status sweep.yaml
status tiny --runs file.txt
status tiny --only nothing
weights
weights buy
weights list --method lavtt
weights list --variant tiny
weights list --method lavt --variant huge
weights prefetch
weights prefetch --method lavtt
weights prefetch --method lavt --variant huge
weights prefetch --method all --variant tiny
env --yaml
env tiny
predict
predict --run dir --image file.txt
{PREDICT} --tile -1
{PREDICT} --tile x
{PREDICT} --overlap 2
{PREDICT} --overlap nan
{PREDICT} --batch-size 0
{PREDICT} --run ''
{PREDICT} --zoom 2
"""
WITH_TORCH = f"""
fit --method lavt --trainer gpu
fit --method lavt --trainer ddp
fit --method lavt --trainer fsdp
fit --method prior-text --trainer low-memory
fit --method prior-text --trainer low-memory --trainer.accelerator=cpu --trainer.precision=32-true
fit --method prior-text --model.activation_checkpointing=true
fit --method lavt --trainer.accelerator=mps
fit --method lavt --trainer cpu --trainer.devices=[0,1]
fit --method lavt --trainer cpu --trainer.precision=16-mixed
fit --method lavt --trainer cpu --trainer.strategy=best
fit --method lavt --trainer cpu --trainer.strategy=ddp_spawn
fit --method lavt --trainer cpu --trainer.strategy=fsdp
fit --method lavt --trainer.callbacks='{{class_path: no.such.Class}}'
fit --method lavt --trainer.logger='{{class_path: no.such.Class}}'
fit --method prior-text --model.optimizer.lr=1
fit --method lavt --trainer cpu --trainer.strategy=fsdp
fit --method lavt --trainer cpu --trainer.precision=16
fit --method lavt --model.options.widht=3
fit --method lavt --model.options.image_size=-5
fit --method lavt --model.options.image_size=0
fit --method lavt --model.options.max_tokens=0
fit --method lavt --model.options.dice=all
fit --method lavt --model.options.tokenizer=moon
fit --method lavt --model.options.swin_depths=[1]
fit --method lavt --data.global_batch=3
fit --method lavt --trainer.accumulate_grad_batches=3 --data.global_batch=16
fit --method lavt --resume file.txt
test --ckpt file.txt --method lavt
test --weights no.pth --method lavt --out run
test --run ready --perturb hase
test --run ready --perturb haze:9
test --run ready --perturb mirror:2
test --run ready --perturb haze --perturb haze:3
test --run no --perturb haze
test --run ready --dataset rrsisd --perturb haze
test --run ready --dataset moon
test --run ready --model.optimizer.lr=0.1
validate --run ready --trainer.max_epochs=3
test --run no --exclude-overlap file.txt
test --run ready --exclude-overlap file.txt
test --run ready --exclude-overlap no.jsonl
test --method lavt --dataset tiny --exclude-overlap file.txt
data overlap
data overlap tiny
data overlap tiny moon
data overlap rrsisd refsegrs
data overlap tiny tiny --out dir
test --weights official --method lavt --out run
validate --ckpt file.txt --method lavt
methods check lavt --variant huge
profile --method lavt --variant tiny --device moon
profile --method lavt --variant tiny --device cuda
profile --run no
profile --run dir
profile --run nomodel
profile --run unfinished
{PREDICT}
predict --run nomodel --image file.txt --text ship
predict --run unfinished --image file.txt --text ship
predict --run unfinished --image file.txt --text ' '
{PREDICT} --device moon
{PREDICT} --device cuda:7
{PREDICT} --ckpt no.ckpt
predict --run ready --image file.txt --text ship
predict --run ready --image no.png --text ship
predict --run ready --image ready/picture.png --text ship --out file.txt
predict --run ready --image ready/picture.png --text ship --out file.txt/deep
predict --run ready --image ready/picture.png --text ship --ckpt file.txt
"""
