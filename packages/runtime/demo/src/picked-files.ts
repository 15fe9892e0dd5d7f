import { FormatError } from '@lorakit/format';
import type { NamedFile } from './messages.js';

/** A model's folder has some dozens of files. */
const MAX_FILES = 5_000;

/** The part of the File System Access API that the type library has not. */
interface WithPicker {
	showDirectoryPicker?(): Promise<FileSystemDirectoryHandle>;
}

/** True where a folder can be asked for without the question whether to "upload" it. */
export function hasFolderPicker(): boolean {
	return typeof (globalThis as WithPicker).showDirectoryPicker === 'function';
}

/** Ask for a folder; undefined when the person thought better of it. @throws {FormatError} `E_LIMIT` for a folder too full. */
export async function pickFolder(): Promise<readonly NamedFile[] | undefined> {
	let folder: FileSystemDirectoryHandle | undefined;
	try {
		folder = await (globalThis as WithPicker).showDirectoryPicker?.();
	} catch (error) {
		if (error instanceof DOMException && error.name === 'AbortError') return undefined;
		throw error;
	}
	if (folder === undefined) return undefined;
	const files: NamedFile[] = [];
	await addHandles(folder, folder.name, files);
	return files;
}

async function addHandles(folder: FileSystemDirectoryHandle, path: string, files: NamedFile[]): Promise<void> {
	for await (const handle of folder.values()) {
		const inside = `${path}/${handle.name}`;
		if (handle instanceof FileSystemDirectoryHandle) await addHandles(handle, inside, files);
		else if (handle instanceof FileSystemFileHandle) add(files, inside, await handle.getFile());
	}
}

/** Files of an `<input type="file">`, with their paths where it is for folders. */
export function filesOfInput(input: HTMLInputElement): readonly NamedFile[] {
	const files: NamedFile[] = [];
	for (const file of input.files ?? []) add(files, file.webkitRelativePath || file.name, file);
	return files;
}

/**
 * What was dropped, folders and all. The entries must be asked for before the event is over: call it at once.
 * @throws {FormatError} `E_LIMIT` for a folder too full.
 */
export async function droppedFiles(transfer: DataTransfer): Promise<readonly NamedFile[]> {
	const items = [...transfer.items]
		.filter(({ kind }) => kind === 'file')
		.map((item) => ({ entry: item.webkitGetAsEntry(), file: item.getAsFile() }));
	const files: NamedFile[] = [];
	for (const { entry, file } of items) {
		if (entry !== null) await addEntries(entry, entry.name, files);
		else if (file !== null) add(files, file.name, file);
	}
	return files;
}

async function addEntries(entry: FileSystemEntry, path: string, files: NamedFile[]): Promise<void> {
	if (entry.isFile) {
		const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
		add(files, path, file);
		return;
	}
	const reader = (entry as FileSystemDirectoryEntry).createReader();
	for (;;) {
		// At most a hundred at a time; none left means the end.
		const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
		if (some.length === 0) return;
		for (const inner of some) await addEntries(inner, `${path}/${inner.name}`, files);
	}
}

function add(files: NamedFile[], path: string, blob: Blob): void {
	if (files.length >= MAX_FILES) {
		throw new FormatError('E_LIMIT', `More than ${MAX_FILES} files; choose the folder of one model, which has model_index.json in it.`);
	}
	files.push({ path, blob });
}
