import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const ENGINE = fileURLToPath(new URL('../../dist/engines/onnx/index.js', import.meta.url));
const GRAPH = fileURLToPath(new URL('../../dist/graph/index.js', import.meta.url));
const home = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-home-'));
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

/** A program that makes an engine and runs a sum. */
const PROGRAM = `
import { createOnnxEngine } from ${JSON.stringify(ENGINE)};
import { createGraphBuilder } from ${JSON.stringify(GRAPH)};
const ops = createGraphBuilder();
const x = ops.input('x', [1]);
ops.output('y', ops.apply('add', [x, x], {}));
const engine = await createOnnxEngine();
const session = await engine.load(ops.graph(), { read: async () => new Float32Array(0), stored: () => undefined });
const { y } = await session.run({ x: { dtype: 'f32', shape: [1], data: Float32Array.of(2) } });
console.log(y.data[0]);
process.exit(0);
`;

/**
 * Runs the program with next to no environment: ONNX Runtime is silent on its own account where it sees a build server's
 * variable (`CI`, `GITHUB_ACTIONS`, `TF_BUILD`, `BUILDKITE`, ...), and then neither test would say anything.
 */
function run(more: string, variables: Readonly<Record<string, string>> = {}): ReturnType<typeof spawnSync> {
	const { PATH = '', SystemRoot = '' } = process.env;
	return spawnSync(process.execPath, ['--input-type=module', '-e', PROGRAM, more], {
		env: { PATH, SystemRoot, HOME: home, ...variables },
		encoding: 'utf8',
	});
}

describe('ONNX Runtime', () => {
	it('records nothing of what it runs, and bears a long command line', () => {
		const { status, stdout } = run('x'.repeat(100_000));
		expect([status, String(stdout).trim()]).toEqual([0, '4']);
		expect(fs.readdirSync(home)).toEqual([]);
	});

	// Should it ever cease to, the line above would prove nothing.
	it.runIf(process.platform === 'linux')('would, were it not told', () => {
		expect(run('x', { ORT_DISABLE_TELEMETRY: '0' }).status).toBe(0);
		expect(fs.readdirSync(home)).not.toEqual([]);
	});
});
