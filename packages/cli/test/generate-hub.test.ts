import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { decode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HubServer, startHub } from '../../runtime/test/io/hub/hub-server.js';
import { FIXTURES, LORA, tempFolder } from './cli.js';

const top = tempFolder();
const RUNTIME = path.join(FIXTURES, 'runtime');

/** Every file below a folder, by its path in the repository. */
function filesOf(folder: string): Map<string, Uint8Array> {
	const names = fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((e) => e.isFile());
	return new Map(
		names.map((e) => {
			const file = path.join(e.parentPath, e.name);
			return [path.relative(folder, file).split(path.sep).join('/'), fs.readFileSync(file)];
		}),
	);
}

/** The program beside a server of this process: not waited for synchronously. */
function lora(args: readonly string[], env: Readonly<Record<string, string>>): Promise<{ code: number | null; out: string; err: string }> {
	const child = spawn(process.execPath, [LORA, ...args], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
	let [out, err] = ['', ''];
	child.stdout.on('data', (chunk) => {
		out += chunk;
	});
	child.stderr.on('data', (chunk) => {
		err += chunk;
	});
	return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })));
}

/** The post's promise: a small file over an unmodified base, found from its card. */
describe('lora generate --from-hub', () => {
	let hub: HubServer;
	let env: Record<string, string>;
	beforeAll(async () => {
		hub = await startHub();
		env = { HF_ENDPOINT: hub.endpoint, HF_HOME: path.join(top, 'home'), HF_HUB_CACHE: path.join(top, 'hub') };
		const card = '---\nbase_model: lorakit/tiny-shapes\nlicense: cc0-1.0\ntags:\n- lora\n---\n# striped\n';
		hub.repos.set('lorakit/striped', {
			commit: 'a'.repeat(40),
			files: new Map([
				['README.md', new TextEncoder().encode(card)],
				['pytorch_lora_weights.safetensors', fs.readFileSync(path.join(RUNTIME, 'adapters/striped.safetensors'))],
			]),
			lfs: new Set(['pytorch_lora_weights.safetensors']),
		});
		hub.repos.set('lorakit/tiny-shapes', { commit: 'b'.repeat(40), files: filesOf(path.join(RUNTIME, 'tiny-shapes')) });
		hub.repos.set('lorakit/lost', {
			commit: 'c'.repeat(40),
			files: new Map([
				['README.md', new TextEncoder().encode('---\nbase_model: /home/me/sd15\n---\n')],
				['pytorch_lora_weights.safetensors', fs.readFileSync(path.join(RUNTIME, 'adapters/striped.safetensors'))],
			]),
		});
	});
	afterAll(() => hub.close());
	const picture = ['--prompt', 'a striped red circle', '--seed', '42', '--steps', '4', '--guidance', '5'];

	it('finds the base from the card, and gives the picture of the local files; then without the network', async () => {
		const [far, near, again] = ['far', 'near', 'again'].map((name) => path.join(top, `${name}.png`));
		const online = await lora(['generate', '--from-hub', 'lorakit/striped@0.5', ...picture, '--out', far ?? ''], env);
		expect(online).toMatchObject({ code: 0 });
		expect(online.err).toContain('its card names the base lorakit/tiny-shapes');
		const base = ['--base', path.join(RUNTIME, 'tiny-shapes'), '--lora', `${path.join(RUNTIME, 'adapters/striped.safetensors')}@0.5`];
		expect(await lora(['generate', ...base, ...picture, '--out', near ?? ''], {})).toMatchObject({ code: 0 });
		expect(decode(fs.readFileSync(far ?? '')).data).toEqual(decode(fs.readFileSync(near ?? '')).data);
		const seen = hub.seen.length;
		expect(await lora(['generate', '--from-hub', 'lorakit/striped@0.5', '--offline', ...picture, '--out', again ?? ''], env)).toMatchObject(
			{ code: 0 },
		);
		expect(hub.seen.length).toBe(seen);
	});

	it('refuses a card whose base is a path of somebody else, naming --base', async () => {
		const { code, err } = await lora(['generate', '--from-hub', 'lorakit/lost', ...picture, '--out', path.join(top, 'lost.png')], env);
		expect(code).toBe(1);
		expect(err).toContain('E_HUB');
		expect(err).toContain('--base');
		expect(fs.existsSync(path.join(top, 'lost.png'))).toBe(false);
	});
});
