/**
 * `npm run bench`: the speed promises as ratios against a baseline of the same run, medians of interleaved runs.
 * Inputs are made in a temporary folder. Python (torch, safetensors) is used where PYTHON has it; said when not.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { makeSafetensors } from './make-inputs.mjs';
import { interleave, peakMb, row, timeCommand } from './stats.mjs';

const ROOT = path.resolve(import.meta.dirname, '..');
const LORA = path.join(ROOT, 'packages/cli/bin/lora.js');
const PYTHON = process.env.PYTHON ?? ['python3'].find((p) => spawnSync(p, ['-c', 'import torch, safetensors.torch']).status === 0);
const RUNS = Number(process.env.BENCH_RUNS ?? 15);
const BIG_MB = Number(process.env.BENCH_BIG_MB ?? 2000);
const folder = fs.mkdtempSync(path.join(process.env.BENCH_DIR ?? os.tmpdir(), 'lorakit-bench-'));
const at = (name) => path.join(folder, name);
const node =
	(...args) =>
	() =>
		timeCommand(process.execPath, args);
const ms = (x) => `${x.toFixed(1)} ms`;
const times = (x) => `${x.toFixed(2)} x`;

process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
console.log(`node ${process.version}, ${os.cpus()[0]?.model.trim()}, ${os.cpus().length} cores; medians of ${RUNS} interleaved runs\n`);
row('what', 'ours', 'baseline', 'ratio', 'target');

// 1. inspect of a 150 MB file against an empty node.
{
	makeSafetensors(at('150.safetensors'), 150);
	const commands = [node('-e', '0'), node(LORA, 'inspect', at('150.safetensors'))];
	const code = `from safetensors import safe_open\nwith safe_open(${JSON.stringify(at('150.safetensors'))}, 'pt') as f: list(f.keys())`;
	if (PYTHON)
		commands.push(
			() => timeCommand(PYTHON, ['-c', 'pass']),
			() => timeCommand(PYTHON, ['-c', code]),
		);
	const [empty, ours, bare, python] = interleave(commands, RUNS);
	row('inspect 150 MB / node -e 0', ms(ours), ms(empty), times(ours / empty), '<= 2 x');
	if (PYTHON)
		row("  Python's safe_open key listing / node -e 0", ms(python), ms(empty), times(python / empty), `(python -c pass: ${ms(bare)})`);
}

// 2. inspect of 1,000 files in one process.
{
	fs.mkdirSync(at('many'));
	makeSafetensors(at('one.safetensors'), 3);
	for (let i = 0; i < 1000; i++) fs.linkSync(at('one.safetensors'), path.join(at('many'), `${String(i).padStart(4, '0')}.safetensors`));
	const [empty, ours] = interleave([node('-e', '0'), node(LORA, 'inspect', at('many'), '--json')], 3);
	row('inspect 1,000 files of 3 MB, each', ms((ours - empty) / 1000), '', '', '<= 3 ms');
}

// 3. convert of the post's size: an SD1.5 list of 256 fp32 tensors, about 3.3 MB.
{
	timeCommand(process.execPath, [path.join(ROOT, 'scripts/make-sd15-list.mjs'), at('sd15.pt')]);
	const convert = () => {
		fs.rmSync(at('sd15.safetensors'), { force: true });
		return timeCommand(process.execPath, [LORA, 'convert', at('sd15.pt'), at('sd15.safetensors'), '--quiet']);
	};
	const commands = [node('-e', '0'), convert];
	const code = `import torch\nfrom safetensors.torch import save_file\nl=torch.load(${JSON.stringify(at('sd15.pt'))}, weights_only=True)\nsave_file({str(i): t.contiguous() for i, t in enumerate(l)}, ${JSON.stringify(at('py.safetensors'))})`;
	if (PYTHON) commands.push(() => timeCommand(PYTHON, ['-c', code]));
	const [empty, ours, python] = interleave(commands, RUNS);
	const size = fs.statSync(at('sd15.pt')).size / 1e6;
	row(`convert ${size.toFixed(2)} MB .pt / node -e 0`, ms(ours), ms(empty), times(ours / empty), '<= 3 x');
	if (PYTHON)
		row(
			'  torch + safetensors, the same file / node -e 0',
			ms(python),
			ms(empty),
			times(python / empty),
			`${(python / ours).toFixed(1)} x ours`,
		);
}

// 4. convert of a big file against cp and sync.
{
	const bytes = makeSafetensors(at('big.safetensors'), BIG_MB, { widths: 5 });
	const copy = () => {
		fs.rmSync(at('copy.safetensors'), { force: true });
		return timeCommand('sh', ['-c', `cp '${at('big.safetensors')}' '${at('copy.safetensors')}' && sync '${at('copy.safetensors')}'`]);
	};
	const args = [LORA, 'convert', at('big.safetensors'), at('out.safetensors'), '--to', 'diffusers', '--quiet', '--force'];
	const convert = () => {
		fs.rmSync(at('out.safetensors'), { force: true });
		return timeCommand(process.execPath, args);
	};
	const commands = [copy, convert];
	if (PYTHON) {
		const code = `from safetensors import safe_open\nfrom safetensors.torch import save_file\nt={}\nwith safe_open(${JSON.stringify(at('big.safetensors'))}, 'pt') as f:\n  for k in f.keys(): t[k.replace('lora_unet_','unet.')]=f.get_tensor(k)\nsave_file(t, ${JSON.stringify(at('py.safetensors'))})`;
		commands.push(() => {
			fs.rmSync(at('py.safetensors'), { force: true });
			return timeCommand(PYTHON, ['-c', code]);
		});
	}
	copy();
	const [cp, ours, python] = interleave(commands, 5);
	row(
		`convert ${(bytes / 1e9).toFixed(2)} GB, speed against cp && sync`,
		`${(bytes / 1e3 / ours).toFixed(0)} MB/s`,
		`${(bytes / 1e3 / cp).toFixed(0)} MB/s`,
		times(cp / ours),
		'>= 0.6 x',
	);
	if (python) row('  torch + safetensors renaming (no fsync)', `${(bytes / 1e3 / python).toFixed(0)} MB/s`, '', times(cp / python), '');
	const mb = peakMb(process.execPath, args);
	row('  peak memory', mb === undefined ? 'no GNU time' : `${mb.toFixed(0)} MB`, '', '', '< 250 MB');
}
if (!PYTHON) console.log('\nPython with torch and safetensors is not here: its lines are left out (set PYTHON).');
