/** The page's elements, by id. @throws {TypeError} when index.html and this list differ. */
export interface Elements {
	readonly form: HTMLFormElement;
	readonly baseZone: HTMLElement;
	readonly baseName: HTMLElement;
	readonly baseFacts: HTMLElement;
	readonly basePick: HTMLButtonElement;
	readonly baseFolder: HTMLInputElement;
	readonly baseExamples: HTMLElement;
	readonly adapterZone: HTMLElement;
	readonly adapterName: HTMLElement;
	readonly adapterFacts: HTMLElement;
	readonly adapterPick: HTMLButtonElement;
	readonly adapterFiles: HTMLInputElement;
	readonly adapterExamples: HTMLElement;
	readonly adapterOff: HTMLButtonElement;
	readonly prompt: HTMLTextAreaElement;
	readonly prompts: HTMLElement;
	readonly negative: HTMLInputElement;
	readonly seed: HTMLInputElement;
	readonly reseed: HTMLButtonElement;
	readonly steps: HTMLInputElement;
	readonly scheduler: HTMLSelectElement;
	readonly guidance: HTMLInputElement;
	readonly width: HTMLInputElement;
	readonly height: HTMLInputElement;
	readonly device: HTMLSelectElement;
	readonly frame: HTMLElement;
	readonly picture: HTMLCanvasElement;
	readonly scale: HTMLInputElement;
	readonly scaleValue: HTMLOutputElement;
	readonly draw: HTMLButtonElement;
	readonly stop: HTMLButtonElement;
	readonly save: HTMLButtonElement;
	readonly progress: HTMLProgressElement;
	readonly status: HTMLElement;
	readonly error: HTMLElement;
	readonly notes: HTMLElement;
	readonly shelfTitle: HTMLElement;
	readonly shelf: HTMLElement;
}

export function findElements(page: Document): Elements {
	return {
		form: find(page, 'form', HTMLFormElement),
		baseZone: find(page, 'base-zone', HTMLElement),
		baseName: find(page, 'base-name', HTMLElement),
		baseFacts: find(page, 'base-facts', HTMLElement),
		basePick: find(page, 'base-pick', HTMLButtonElement),
		baseFolder: find(page, 'base-folder', HTMLInputElement),
		baseExamples: find(page, 'base-examples', HTMLElement),
		adapterZone: find(page, 'adapter-zone', HTMLElement),
		adapterName: find(page, 'adapter-name', HTMLElement),
		adapterFacts: find(page, 'adapter-facts', HTMLElement),
		adapterPick: find(page, 'adapter-pick', HTMLButtonElement),
		adapterFiles: find(page, 'adapter-files', HTMLInputElement),
		adapterExamples: find(page, 'adapter-examples', HTMLElement),
		adapterOff: find(page, 'adapter-off', HTMLButtonElement),
		prompt: find(page, 'prompt', HTMLTextAreaElement),
		prompts: find(page, 'prompts', HTMLElement),
		negative: find(page, 'negative', HTMLInputElement),
		seed: find(page, 'seed', HTMLInputElement),
		reseed: find(page, 'reseed', HTMLButtonElement),
		steps: find(page, 'steps', HTMLInputElement),
		scheduler: find(page, 'scheduler', HTMLSelectElement),
		guidance: find(page, 'guidance', HTMLInputElement),
		width: find(page, 'width', HTMLInputElement),
		height: find(page, 'height', HTMLInputElement),
		device: find(page, 'device', HTMLSelectElement),
		frame: find(page, 'frame', HTMLElement),
		picture: find(page, 'picture', HTMLCanvasElement),
		scale: find(page, 'scale', HTMLInputElement),
		scaleValue: find(page, 'scale-value', HTMLOutputElement),
		draw: find(page, 'draw', HTMLButtonElement),
		stop: find(page, 'stop', HTMLButtonElement),
		save: find(page, 'save', HTMLButtonElement),
		progress: find(page, 'progress', HTMLProgressElement),
		status: find(page, 'status', HTMLElement),
		error: find(page, 'error', HTMLElement),
		notes: find(page, 'notes', HTMLElement),
		shelfTitle: find(page, 'shelf-title', HTMLElement),
		shelf: find(page, 'shelf', HTMLElement),
	};
}

function find<T extends HTMLElement>(page: Document, id: string, kind: new () => T): T {
	const element = page.getElementById(id);
	if (!(element instanceof kind)) throw new TypeError(`no ${kind.name} #${id} in the page`);
	return element;
}
