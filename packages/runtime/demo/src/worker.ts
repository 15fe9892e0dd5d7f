import { failureOf } from './failure-of.js';
import type { CallName, Calls, ToPage, ToWorker } from './messages.js';
import { createStudio } from './studio.js';

/** The worker's side: calls are answered one after the other; `stop` ends the picture that is being drawn. */
const studio = createStudio(new URL('./ort/', import.meta.url).href, (progress) => say({ type: 'progress', progress }));
let drawing: AbortController | undefined;
let last: Promise<void> = Promise.resolve();

globalThis.addEventListener('message', ({ data }: MessageEvent<ToWorker>) => {
	if (data.type === 'stop') {
		drawing?.abort();
		return;
	}
	last = last.then(async () => {
		try {
			say({ type: 'result', id: data.id, result: await answer(data) });
		} catch (error) {
			say({ type: 'failure', id: data.id, failure: failureOf(error) });
		}
	});
});

async function answer(call: Exclude<ToWorker, { readonly type: 'stop' }>): Promise<Calls[CallName]['result']> {
	switch (call.name) {
		case 'openBase':
			return await studio.openBase(call.given.files, call.given.device);
		case 'setAdapter':
			return await studio.setAdapter(call.given.files);
		case 'render':
			drawing = new AbortController();
			try {
				return await studio.render(call.given, drawing.signal);
			} finally {
				drawing = undefined;
			}
	}
}

function say(message: ToPage): void {
	globalThis.postMessage(message);
}
