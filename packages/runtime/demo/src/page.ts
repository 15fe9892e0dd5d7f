import { SCHEDULER_KINDS } from '@lorakit/runtime';
import { type Elements, findElements } from './elements.js';
import { encodePng } from './encode-png.js';
import { type Example, fetchExample, readExamples } from './examples.js';
import { failureOf } from './failure-of.js';
import type { AdapterFacts, BaseFacts, DeviceChoice, Failure, NamedFile, Progress, Rendered, RenderSettings } from './messages.js';
import { paint } from './paint.js';
import { parametersText } from './parameters-text.js';
import { droppedFiles, filesOfInput, hasFolderPicker, pickFolder } from './picked-files.js';
import { createWorkerClient, WorkerFailure } from './worker-client.js';

/** Pictures that stay on the shelf. */
const SHELF = 8;

const at = findElements(document);
const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
const client = createWorkerClient(worker, showProgress);

/** What is on the canvas, and how it was made. */
let shown: { readonly settings: RenderSettings; readonly rendered: Rendered } | undefined;
let base: BaseFacts | undefined;
let baseNotes: readonly string[] = [];
let adapterNotes: readonly string[] = [];
/** A picture is wanted that is newer than the one being drawn. */
let wanted = false;
let drawing = false;

for (const kind of SCHEDULER_KINDS) at.scheduler.append(new Option(kind, kind));
wireForm(at);
wireZone(at.baseZone, openBase);
wireZone(at.adapterZone, setAdapter);
wireExamples().catch(refuse);

function wireForm({
	form,
	scale,
	reseed,
	seed,
	stop,
	save,
	basePick,
	baseFolder,
	adapterPick,
	adapterFiles,
	adapterOff,
	prompt,
}: Elements): void {
	form.addEventListener('submit', (event) => {
		event.preventDefault();
		draw();
	});
	// Enter draws, as in every other field; a prompt has no lines.
	prompt.addEventListener('keydown', (event) => {
		if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
		event.preventDefault();
		draw();
	});
	scale.addEventListener('input', () => {
		showScale();
		draw();
	});
	reseed.addEventListener('click', () => {
		seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
		draw();
	});
	stop.addEventListener('click', () => {
		wanted = false;
		client.stop();
	});
	save.addEventListener('click', () => void savePicture().catch(refuse));
	basePick.addEventListener('click', () => {
		if (!hasFolderPicker()) return baseFolder.click();
		return void openBase(pickFolder).catch(refuse);
	});
	adapterPick.addEventListener('click', () => adapterFiles.click());
	adapterOff.addEventListener('click', () => void setAdapter(async () => []).catch(refuse));
	for (const [input, use] of [
		[baseFolder, openBase],
		[adapterFiles, setAdapter],
	] as const) {
		input.addEventListener('change', () => {
			const files = filesOfInput(input);
			// So that the same choice again is a change again.
			input.value = '';
			if (files.length > 0) void use(async () => files);
		});
	}
}

type Files = () => Promise<readonly NamedFile[] | undefined>;

function wireZone(zone: HTMLElement, use: (files: Files) => Promise<void>): void {
	zone.addEventListener('dragover', (event) => {
		event.preventDefault();
		zone.classList.add('over');
	});
	zone.addEventListener('dragleave', (event) => {
		if (!(event.relatedTarget instanceof Node && zone.contains(event.relatedTarget))) zone.classList.remove('over');
	});
	zone.addEventListener('drop', (event) => {
		event.preventDefault();
		zone.classList.remove('over');
		if (event.dataTransfer === null) return;
		const files = droppedFiles(event.dataTransfer);
		void use(() => files);
	});
}

// A file that misses the zones must not replace the page.
document.addEventListener('dragover', (event) => event.preventDefault());
document.addEventListener('drop', (event) => event.preventDefault());

async function wireExamples(): Promise<void> {
	const { bases, adapters } = await readExamples();
	const button = (example: Example, onClick: () => Promise<void>): HTMLButtonElement => {
		const made = document.createElement('button');
		made.type = 'button';
		made.textContent = `Example: ${example.name}`;
		made.addEventListener('click', () => void onClick());
		return made;
	};
	at.baseExamples.append(...bases.map((example) => button(example, () => openBase(() => fetchExample(example)))));
	at.adapterExamples.append(
		...adapters.map((example) =>
			button(example, async () => {
				const [first] = bases;
				if (base === undefined && first !== undefined) await openBase(() => fetchExample(first), { draw: false });
				at.prompt.value = example.prompt;
				await setAdapter(() => fetchExample(example));
			}),
		),
	);
}

/** Open a base and draw; says what is wrong when it cannot. */
async function openBase(files: Files, { draw: drawThen = true } = {}): Promise<void> {
	await during('Opening the base…', async () => {
		const given = await files();
		if (given === undefined || given.length === 0) return;
		const facts = await client.call('openBase', { files: given, device: at.device.value as DeviceChoice });
		base = facts;
		at.baseName.textContent = facts.name;
		at.baseFacts.textContent = `${facts.architecture}, ${megabytes(facts.bytes)}; ${facts.engine}`;
		at.width.value = String(facts.width);
		at.height.value = String(facts.height);
		showPrompts(facts.prompts);
		baseNotes = facts.notes;
		if (facts.adapterRefused !== undefined) {
			showAdapter(undefined);
			showFailure(facts.adapterRefused);
		}
		at.draw.disabled = false;
		if (drawThen && facts.adapterRefused === undefined) draw();
	});
}

async function setAdapter(files: Files): Promise<void> {
	await during('Opening the adapter…', async () => {
		const given = await files();
		if (given === undefined) return;
		showAdapter(await client.call('setAdapter', { files: given }));
		if (base !== undefined) draw();
	});
}

function showAdapter(facts: AdapterFacts | undefined): void {
	at.adapterName.textContent = facts?.name ?? 'None.';
	const tokens = facts === undefined || facts.tokens.length === 0 ? '' : `; its words: ${facts.tokens.join(' ')}`;
	at.adapterFacts.textContent = facts === undefined ? '' : `${facts.layout}, ${facts.modules} modules${tokens}`;
	at.adapterOff.disabled = facts === undefined;
	at.scale.disabled = facts === undefined;
	at.scale.value = '1';
	showScale();
	adapterNotes = facts?.notes ?? [];
}

function showScale(): void {
	at.scaleValue.value = at.scale.valueAsNumber.toFixed(2);
}

function showPrompts(prompts: readonly string[]): void {
	const chips = prompts.map((text) => {
		const chip = document.createElement('button');
		chip.type = 'button';
		chip.textContent = text;
		chip.addEventListener('click', () => {
			at.prompt.value = text;
			draw();
		});
		return chip;
	});
	at.prompts.replaceChildren(...chips);
	if (at.prompt.value === '') at.prompt.value = prompts[0] ?? '';
}

function settings(): RenderSettings {
	return {
		prompt: at.prompt.value,
		negative: at.negative.value,
		seed: at.seed.value.trim(),
		steps: at.steps.valueAsNumber,
		scheduler: at.scheduler.value,
		guidance: at.guidance.valueAsNumber,
		width: at.width.valueAsNumber,
		height: at.height.valueAsNumber,
		scale: at.scale.valueAsNumber,
	};
}

/** Draw what the form says now. What is being drawn is given up: the newest wish counts. */
function draw(): void {
	if (base === undefined) return;
	wanted = true;
	// In a narrow window it is below the form.
	at.frame.scrollIntoView({ block: 'nearest' });
	if (drawing) client.stop();
	else void drawAll();
}

async function drawAll(): Promise<void> {
	drawing = true;
	at.frame.setAttribute('aria-busy', 'true');
	at.stop.disabled = false;
	hideFailure();
	try {
		while (wanted) {
			wanted = false;
			await drawOnce(settings());
		}
	} finally {
		drawing = false;
		at.frame.setAttribute('aria-busy', 'false');
		at.stop.disabled = true;
		at.progress.value = 0;
	}
}

async function drawOnce(asked: RenderSettings): Promise<void> {
	try {
		const rendered = await client.call('render', asked);
		hideFailure();
		shelve();
		shown = { settings: asked, rendered };
		paint(at.picture, rendered.picture);
		at.picture.setAttribute('aria-label', describe(asked, rendered));
		at.save.disabled = false;
		at.status.textContent = `${rendered.seconds.toFixed(1)} s, ${asked.steps} steps; sessions made so far: ${rendered.sessions}`;
		showNotes(rendered.notes);
	} catch (error) {
		const failure = error instanceof WorkerFailure ? error.failure : failureOf(error);
		if (failure.code !== 'E_INTERRUPTED') showFailure(failure);
		else if (!wanted) at.status.textContent = failure.message;
	}
}

/** The picture before goes onto the shelf, with what made it. */
function shelve(): void {
	if (shown === undefined) return;
	const canvas = document.createElement('canvas');
	paint(canvas, shown.rendered.picture);
	canvas.setAttribute('role', 'img');
	canvas.setAttribute('aria-label', describe(shown.settings, shown.rendered));
	const item = document.createElement('li');
	const { adapter } = shown.rendered;
	item.append(canvas, adapter === undefined ? 'no adapter' : `${adapter} at ${shown.settings.scale}`);
	at.shelf.prepend(item);
	while (at.shelf.children.length > SHELF) at.shelf.lastElementChild?.remove();
	at.shelfTitle.hidden = false;
}

function describe({ prompt, seed, scale }: RenderSettings, { adapter }: Rendered): string {
	return [prompt || 'No prompt', `seed ${seed}`, ...(adapter === undefined ? [] : [`${adapter} at ${scale}`])].join(', ');
}

function showProgress(progress: Progress): void {
	if (progress.stage === 'loading') {
		const doing = progress.done < progress.total ? 'Loading' : 'Preparing';
		at.status.textContent = `${doing} ${progress.component.replaceAll('_', ' ')}…`;
		at.progress.value = progress.total === 0 ? 0 : progress.done / progress.total;
		return;
	}
	at.status.textContent = `Step ${progress.step} of ${progress.steps}`;
	at.progress.value = progress.step / progress.steps;
	if (progress.preview !== undefined) {
		paint(at.picture, progress.preview);
		// What is on the canvas is no finished picture; the one before can still be saved.
		at.picture.setAttribute('aria-label', `Preview, step ${progress.step} of ${progress.steps}`);
	}
}

/** One job of the worker, after the picture that is being drawn was given up. */
async function during(doing: string, job: () => Promise<void>): Promise<void> {
	wanted = false;
	client.stop();
	hideFailure();
	at.status.textContent = doing;
	try {
		await job();
		if (at.status.textContent === doing) at.status.textContent = base === undefined ? 'Choose a base to begin.' : 'Ready.';
	} catch (error) {
		refuse(error);
	}
	showNotes([]);
}

function refuse(error: unknown): void {
	at.status.textContent = '';
	showFailure(error instanceof WorkerFailure ? error.failure : failureOf(error));
}

function showFailure({ code, message }: Failure): void {
	const name = document.createElement('code');
	name.textContent = code;
	at.error.replaceChildren(name, ` ${message}`);
	at.error.hidden = false;
	if (!drawing) return;
	at.status.textContent = '';
	if (shown !== undefined) paint(at.picture, shown.rendered.picture);
}

function hideFailure(): void {
	at.error.hidden = true;
	at.error.replaceChildren();
}

function showNotes(own: readonly string[]): void {
	const items = [...baseNotes, ...adapterNotes, ...own].map((text) => {
		const item = document.createElement('li');
		item.textContent = text;
		return item;
	});
	at.notes.replaceChildren(...items);
}

async function savePicture(): Promise<void> {
	if (shown === undefined) return;
	const { settings: made, rendered } = shown;
	const blob = await encodePng(rendered.picture, new Map([['parameters', parametersText(made, rendered)]]));
	const link = document.createElement('a');
	link.href = URL.createObjectURL(blob);
	link.download = `${[rendered.base, ...(rendered.adapter === undefined ? [] : [rendered.adapter, made.scale]), made.seed].join('-')}.png`;
	link.click();
	URL.revokeObjectURL(link.href);
}

function megabytes(bytes: number): string {
	return `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB`;
}
