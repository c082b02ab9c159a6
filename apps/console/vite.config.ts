// Builds the console to static files that the platform serves at `/`.
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({
  plugins: [react()],
  resolve: { conditions: ['heptad-source', 'module', 'browser', 'development|production'] },
  build: { target: 'es2023', sourcemap: false, assetsInlineLimit: 4096 },
  server: { proxy: { '/api': process.env.HEPTAD_SERVER ?? 'http://127.0.0.1:7070' } },
});
