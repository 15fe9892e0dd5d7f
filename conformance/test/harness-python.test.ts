import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/**
 * harness/python in a Python without torch, as far as that goes: the protocol page with a runtime of the test's own behind
 * it. With torch, PEFT and diffusers the whole suite is run by hand; docs/conformance/matrix.md is the result.
 */
const HARNESS = fileURLToPath(new URL('../harness/python/subject.py', import.meta.url));

// What subject.py asks of a runtime, without any library.
const RUNTIME = `
NAME, VERSION, LEVELS, FEATURES, REFUSALS = "mine", "1", ["L0", "L2", "L4"], ["kohya"], (KeyError,)
class Skipped(Exception): pass
class Module:
    def __init__(self, key, scaling): self.key, self.rank, self.scaling = key, 4, scaling
class Session:
    def __init__(self, base, folder): self.unmatched, self.strengths = {"b", "a"}, {}
    def load(self, name, ref, strength):
        print("a library prints this")
        if ref["file"] == "crash": raise IndexError("list index out of range")
        if ref["file"] == "bad": raise KeyError("no such key")
        if ref["file"] == "unknown": raise Skipped("no such layout here")
        self.strengths[name], self.file = strength, ref["file"]
    def set_strength(self, name, value): self.strengths[name] = value
    def unload(self, name): del self.strengths[name]
    def modules(self, name): return [Module("unet.x", float("inf") if self.file == "endless" else self.strengths[name] * 0.5)]
    def weights(self): return dict(self.strengths)
def use(precision): pass
def open_file(path): return {"w": path} if path == "good" else 1 / 0
def facts(tensor): return "U8", [3], b"abc"
def save(tensors, path): open(path, "w").write(repr(tensors))
`;

let dir = '';
beforeAll(() => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), 'harness-python-'));
	// A copy of the page, as its first lines say, with the runtime in its own file.
	fs.copyFileSync(HARNESS, path.join(dir, 'subject.py'));
	fs.writeFileSync(path.join(dir, 'runtime_torch.py'), RUNTIME);
});
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

function ask(...requests: readonly Readonly<Record<string, unknown>>[]): readonly Readonly<Record<string, unknown>>[] {
	const input = requests.map((request, id) => `${JSON.stringify({ id, dir, ...request })}\n`).join('');
	const { stdout, status } = spawnSync('python3', [path.join(dir, 'subject.py'), '--runtime', 'torch'], { input, encoding: 'utf8' });
	expect(status).toBe(0);
	return stdout
		.trim()
		.split('\n')
		.map((line) => JSON.parse(line) as Record<string, unknown>);
}

const base = { components: { unet: 'u' } };

describe('the Python harness', () => {
	it('says how it is used, without any library', () => {
		const help = execFileSync('python3', [HARNESS, '--help'], { encoding: 'utf8' });
		expect(help).toMatch(/--runtime \{diffusers,peft,torch\}[\s\S]*--precision \{f32,f16,bf16\}/);
		expect(help).toContain('one JSON request a line');
	});

	it('starts, opens and refuses; what a library prints is no answer', () => {
		const [start, good, bad] = ask({ op: 'start' }, { op: 'open', file: 'good' }, { op: 'open', file: 'broken' }, { op: 'stop' });
		expect(start).toMatchObject({ id: 0, protocol: 1, precision: 'f32', levels: ['L0', 'L2', 'L4'], features: ['kohya'] });
		expect(start).toMatchObject({ implementation: { name: 'mine', version: '1' } });
		// SHA-256 of "abc": FIPS 180-2, appendix B.1.
		const sha256 = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
		expect(good).toEqual({ id: 1, ok: true, tensors: { w: { dtype: 'U8', shape: [3], sha256 } } });
		expect(bad).toMatchObject({ id: 2, refused: true });
	});

	it('tells a refusal, something not done, and a crash apart', () => {
		const scaling = (file: string) => ({ op: 'scaling', base, adapter: { file, strength: 3 } });
		const [well, endless, bad, unknown, crash, without] = ask(
			scaling('good'),
			scaling('endless'),
			scaling('bad'),
			scaling('unknown'),
			scaling('crash'),
			{ op: 'scaling', adapter: { file: 'good' } },
			{ op: 'stop' },
		);
		expect(well).toEqual({ id: 0, ok: true, scaling: { 'unet.x': 1.5 } });
		// Accepted, and JSON has no word for it.
		expect(endless).toEqual({ id: 1, ok: true, scaling: { 'unet.x': null } });
		expect(bad).toMatchObject({ refused: true, code: 'KeyError' });
		expect(unknown).toMatchObject({ skipped: true, message: 'no such layout here' });
		expect(crash).toMatchObject({ error: { message: 'IndexError: list index out of range' } });
		expect(without).toMatchObject({ skipped: true });
	});

	it('runs actions in order; a swap keeps the strength unless it names one', () => {
		const out = (name: string) => path.join(dir, name);
		const load = (what: 'load' | 'swap', strength?: number) => ({
			do: what,
			name: 'x',
			adapter: { file: 'good', ...(strength === undefined ? {} : { strength }) },
		});
		const actions = [
			load('load', 0.25),
			load('swap'),
			{ do: 'export', out: out('kept') },
			load('swap', 2),
			{ do: 'export', out: out('own') },
			{ do: 'strength', name: 'x', value: -1 },
			{ do: 'export', out: out('set') },
			{ do: 'unload', name: 'x' },
			{ do: 'export', out: out('off') },
		];
		expect(ask({ op: 'weights', base, actions }, { op: 'stop' })).toEqual([{ id: 0, ok: true }]);
		const written = ['kept', 'own', 'set', 'off'].map((name) => fs.readFileSync(out(name), 'utf8'));
		expect(written).toEqual(["{'x': 0.25}", "{'x': 2}", "{'x': -1}", '{}']);
	});
});
