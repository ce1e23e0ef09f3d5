@echo off
rem Unloads the driver. The service may stay: it waits for the driver.
fltmc unload CacheFilter
