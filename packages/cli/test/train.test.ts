import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { encode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type PushServer, startPushServer, TOKEN } from '../../trainer/test/io/result/push-server.js';
import { FIXTURES, LORA, lora, tempFolder } from './cli.js';

const BASE = path.join(FIXTURES, 'runtime/tiny-shapes');
const work = tempFolder();
const SMALL = [
	'--base',
	BASE,
	'--data',
	path.join(work, 'set'),
	'--resolution',
	'64',
	'--center-crop',
	'--batch-size',
	'2',
	'--threads',
	'1',
];

// Every run loads the engine and the base anew; on a busy machine that takes its time.
vi.setConfig({ testTimeout: 600_000 });

beforeAll(() => {
	fs.mkdirSync(path.join(work, 'set'));
	for (let i = 0; i < 3; i++) {
		const data = Uint8Array.from({ length: 64 * 64 * 3 }, (_, k) => ((k * (i + 3)) % 7) * 36);
		fs.writeFileSync(path.join(work, 'set', `${i}.png`), encode({ width: 64, height: 64, channels: 3, depth: 8, data }));
		fs.writeFileSync(path.join(work, 'set', `${i}.txt`), `a noisy square, number ${i}`);
	}
});

interface Finished {
	readonly code: number | null;
	readonly out: string;
	readonly err: string;
}

/** Run `lora` beside this process, so that a server here can answer it. @param onErr told of what it says on standard error */
function running(
	args: readonly string[],
	env: Readonly<Record<string, string>> = {},
	onErr: (text: string, stop: () => void) => void = () => {},
): Promise<Finished> {
	return new Promise((resolve) => {
		const child = spawn(process.execPath, [LORA, ...args], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
		let out = '';
		let err = '';
		child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString()));
		child.stderr.on('data', (bytes: Buffer) => {
			err += bytes.toString();
			onErr(err, () => child.kill('SIGINT'));
		});
		child.on('close', (code) => resolve({ code, out, err }));
	});
}

describe('lora train', () => {
	test('a run from flags: files, report, and the document of --json', () => {
		const out = path.join(work, 'first');
		const { code, out: said, err } = lora(['train', 'text-to-image', ...SMALL, '--steps', '2', '--out', out, '--json', '--title', 'Noise']);
		expect([code, err]).toEqual([0, expect.not.stringContaining('E_')]);
		const document = JSON.parse(said) as { readonly files: readonly { readonly path: string; readonly bytes: number }[] };
		expect(document).toMatchObject({
			schema: 'lora.train/1',
			objective: 'text-to-image',
			reason: 'steps',
			step: 2,
			steps: 2,
			folder: out,
			pushed: null,
		});
		for (const { path: name, bytes } of document.files) expect(fs.statSync(path.join(out, name)).size).toBe(bytes);
		expect(lora(['validate', path.join(out, 'pytorch_lora_weights.safetensors')]).code).toBe(0);
		const inspected = lora(['inspect', path.join(out, 'pytorch_lora_weights.safetensors')]).out;
		expect(inspected).toContain('Noise');

		// What it wrote, drawn: at scale 0 it is the base alone.
		const draw = (...more: readonly string[]): Buffer => {
			const file = path.join(work, `${more.length}-${more.join('').length}.png`);
			const drawn = lora([
				'generate',
				'--base',
				BASE,
				'--prompt',
				'a star',
				'--seed',
				'3',
				'--steps',
				'2',
				'--size',
				'64x64',
				'--threads',
				'1',
				'--force',
				'--out',
				file,
				...more,
			]);
			expect(drawn.code).toBe(0);
			return pixelsOf(file);
		};
		const adapter = path.join(out, 'pytorch_lora_weights.safetensors');
		expect(draw('--lora', `${adapter}@0`)).toEqual(draw());
	});

	test('--dry-run: the exact size, nothing written', () => {
		const out = path.join(work, 'planned');
		const { code, out: said } = lora([
			'train',
			'text-to-image',
			...SMALL,
			'--steps',
			'2',
			'--out',
			out,
			'--dry-run',
			'--no-measure',
			'--json',
			'--title',
			'Noise',
		]);
		expect(code).toBe(0);
		const plan = JSON.parse(said) as { readonly files: { readonly F32: { readonly bytes: number } }; readonly seconds: unknown };
		expect(plan).toMatchObject({
			schema: 'lora.train-plan/1',
			parameters: { unet: 56_576, total: 56_576 },
			pictures: { train: 3 },
			seconds: null,
		});
		expect(plan.files.F32.bytes).toBe(fs.statSync(path.join(work, 'first/pytorch_lora_weights.safetensors')).size);
		expect(fs.existsSync(out)).toBe(false);
		const text = lora(['train', 'text-to-image', ...SMALL, '--steps', '2', '--out', out, '--dry-run', '--no-measure']).out;
		expect(text).toContain('56,576 numbers');
	});

	test('a configuration file, with flags and --set over it', () => {
		const file = path.join(work, 'run.yaml');
		fs.writeFileSync(
			file,
			`base: ${BASE}\ndata:\n  path: ${path.join(work, 'set')}\nimages: { resolution: 64 }\ntrain: { max_train_steps: 9, train_batch_size: 2 }\nadapter: { rank: 2 }\noutput: { folder: ${path.join(work, 'x')} }\n`,
		);
		const args = [
			'train',
			'text-to-image',
			'--config',
			file,
			'--steps',
			'7',
			'--set',
			'adapter.rank=1',
			'--dry-run',
			'--no-measure',
			'--json',
		];
		const plan = JSON.parse(lora(args).out) as unknown;
		expect(plan).toMatchObject({ parameters: { total: 56_576 / 4 }, phases: [{ optimizerSteps: 7 }] });
	});

	test('Ctrl-C saves, and --resume ends with the files of a run that was never stopped', async () => {
		const common = ['train', 'text-to-image', ...SMALL, '--steps', '4', '--set', 'checkpoints.every=1', '--title', 'same'];
		const whole = path.join(work, 'whole');
		expect(lora([...common, '--out', whole]).code).toBe(0);
		const parts = path.join(work, 'parts');
		let stopped = false;
		const first = await running([...common, '--out', parts], {}, (err, stop) => {
			if (stopped || !err.includes('saved checkpoint-000001')) return;
			stopped = true;
			stop();
		});
		expect([first.code, first.err]).toEqual([
			130,
			expect.stringMatching(/E_INTERRUPTED: stopped by SIGINT; step \d is saved; go on with --resume/),
		]);
		expect(fs.existsSync(path.join(parts, 'README.md'))).toBe(false);
		const refused = lora([...common, '--out', parts]);
		expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('E_OUTPUT_EXISTS')]);
		expect(lora([...common, '--out', parts, '--resume']).code).toBe(0);
		expect(dataOf(path.join(parts, 'pytorch_lora_weights.safetensors'))).toEqual(
			dataOf(path.join(whole, 'pytorch_lora_weights.safetensors')),
		);
	});

	test('wrong usage is 2, a wrong configuration 1, both without a trace', () => {
		const ran = (...args: readonly string[]) => lora(['train', ...args]);
		expect(ran('text-to-image', ...SMALL, '--stepz', '3')).toMatchObject({ code: 2, err: expect.stringContaining('--steps') as unknown });
		expect(ran('text-to-image', ...SMALL, '--set', 'train.learning_rat=1')).toMatchObject({
			code: 2,
			err: expect.stringContaining('learning_rate') as unknown,
		});
		expect(ran('text-to-image', ...SMALL, '--resume-changed')).toMatchObject({ code: 2 });
		expect(ran('text-to-image', ...SMALL, '--resume', '--force')).toMatchObject({ code: 2 });
		expect(ran('dreambooth', ...SMALL)).toMatchObject({ code: 1, err: expect.stringContaining('instance_prompt') as unknown });
		expect(ran('text-to-image', '--base', BASE)).toMatchObject({ code: 1, err: expect.stringContaining('data.path') as unknown });
		expect(JSON.parse(ran('text-to-image', '--base', BASE, '--json').out)).toMatchObject({
			schema: 'lora.error/1',
			error: { code: 'E_CONFIG' },
		});
		expect(ran('--help').out).toContain('textual-inversion');
		expect(JSON.parse(ran('pivotal', '--config-schema').out)).toMatchObject({ title: 'lora train --config' });
		expect(JSON.parse(ran('pivotal', '--schema').out)).toMatchObject({ title: 'lora train' });
	});
});

describe('--push-to-hub', () => {
	let server: PushServer;
	beforeAll(async () => {
		server = await startPushServer();
	});
	afterAll(() => server.close());

	test('publishes what was written, and nothing else', async () => {
		const out = path.join(work, 'pushed');
		const args = [
			'train',
			'text-to-image',
			...SMALL,
			'--steps',
			'1',
			'--out',
			out,
			'--json',
			'--base-model',
			'somebody/tiny-shapes',
			'--push-to-hub',
			'me/noise',
			'--private-repo',
		];
		const { code, out: said, err } = await running(args, { HF_ENDPOINT: server.endpoint, HF_TOKEN: TOKEN, HF_HOME: work });
		expect([code, err]).toEqual([0, expect.not.stringContaining('E_')]);
		const repo = server.repos.get('me/noise');
		const document = JSON.parse(said) as { readonly files: readonly { readonly path: string }[] };
		expect(document).toMatchObject({ pushed: { url: `${server.endpoint}/me/noise`, commit: repo?.commits.at(-1)?.oid, created: true } });
		expect([...(repo?.files.keys() ?? [])].sort()).toEqual(['.gitattributes', ...document.files.map((file) => file.path)].sort());
		expect(repo?.private).toBe(true);
		expect(Buffer.from(repo?.files.get('README.md') ?? []).toString()).toContain('pipeline.load_lora_weights("me/noise"');
		expect(`${said}${err}`).not.toContain(TOKEN);
	});

	test('what would fail after the training is refused before it', () => {
		const ran = (env: Readonly<Record<string, string>>, ...more: readonly string[]) =>
			lora(['train', 'text-to-image', ...SMALL, '--steps', '1', '--out', path.join(work, 'never'), '--push-to-hub', 'me/noise', ...more], {
				env: { HF_HOME: work, HF_ENDPOINT: server.endpoint, ...env },
			});
		expect(ran({ HF_TOKEN: '' }, '--base-model', 'a/b')).toMatchObject({ code: 1, err: expect.stringContaining('HF_TOKEN') as unknown });
		expect(ran({ HF_TOKEN: TOKEN })).toMatchObject({ code: 1, err: expect.stringContaining('--base-model') as unknown });
		expect(ran({ HF_TOKEN: TOKEN }, '--base-model', './sd15')).toMatchObject({
			code: 1,
			err: expect.stringContaining('path on this machine') as unknown,
		});
		expect(fs.existsSync(path.join(work, 'never/metrics.jsonl'))).toBe(false);
	});
});

/** The tensors' bytes of a safetensors file: what stands behind its header. */
function dataOf(file: string): Buffer {
	const bytes = fs.readFileSync(file);
	return bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)));
}

/** IDAT of a PNG: the same pixels from one encoder are the same bytes; its texts differ. */
function pixelsOf(file: string): Buffer {
	const bytes = fs.readFileSync(file);
	const parts: Buffer[] = [];
	for (let at = 8; at < bytes.length; at += 12 + bytes.readUInt32BE(at)) {
		if (bytes.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(bytes.subarray(at + 8, at + 8 + bytes.readUInt32BE(at)));
	}
	return Buffer.concat(parts);
}
