// LoRA conformance harness (protocol 1): one JSON request a line on standard input, one JSON answer a line on standard
// output. Fill in what your runtime can do, and list the levels. Nothing else may be printed to standard output.
// https://github.com/lorakit/lorakit/blob/main/conformance/PROTOCOL.md
import { createInterface } from 'node:readline';

const VERSION = '0.0.0'; // of your runtime: a number or a commit
const LEVELS = ['L2']; // add L0 to L6 as you fill them in

class Refused extends Error {} // throw it for a file that is bad

const OPS = {
	/** L2: `component.path` -> the number that multiplies the delta, strength included. */
	async scaling(request) {
		return { skipped: true, message: `ask your runtime for the scales of ${request.adapter.file}` };
	},
};

for await (const line of createInterface({ input: process.stdin })) {
	const request = JSON.parse(line);
	const { id, op } = request;
	if (op === 'stop') break;
	let answer;
	if (op === 'start') {
		answer = {
			protocol: 1,
			implementation: { name: 'my-runtime', version: VERSION, language: 'JavaScript' },
			precision: 'f32',
			levels: LEVELS,
		};
	} else {
		try {
			const done = await OPS[op]?.(request);
			answer = done === undefined ? { skipped: true, message: 'not done' } : done.skipped ? done : { ok: true, ...done };
		} catch (error) {
			answer = error instanceof Refused ? { refused: true, message: error.message } : { error: { message: String(error) } };
		}
	}
	process.stdout.write(`${JSON.stringify({ id, ...answer })}\n`);
}
